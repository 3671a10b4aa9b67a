"""Puts the parts together: the only place that knows both the core and the world.

run      Kafka stream, side topics, checkpoint store, HTTP pages    ─┐
replay   events file, feedback file, progress folder                ─┴─> the same Runner, the same shards
audits   the same logs and stores, read from outside the group      ───> Auditor, the same shards

Each command imports the modules that it needs, when it runs: all of them cost .1 s of CPU time at each start.
"""
