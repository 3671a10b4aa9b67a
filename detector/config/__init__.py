"""One YAML file into one frozen, typed tree."""
