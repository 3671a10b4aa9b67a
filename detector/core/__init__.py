"""The model as a pure function of its inputs: no IO, clock, thread, log line or global randomness."""
