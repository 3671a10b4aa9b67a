"""Measures of the console's database: size, speed, kills."""
