"""The real runner under faults; everything is drawn from one seed.

    plan.py      what a seed decides first: size, configuration, which faults may happen
    world.py     members of one group that take turns, a log that grows, the faults
    run.py       one seed, from its plan to its checks
    checks.py    what must hold afterwards: the undisturbed run, the replay of log and journal, the counts
    mutants.py   bugs put in on purpose, which the seeds must find
    seeds.py     seeds that once failed

`python -m tests.simulation --seeds N --start K` runs more seeds (`make soak`), `--seed K` runs one and prints
its trace.
"""
