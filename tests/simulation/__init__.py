"""The real runner under faults, everything drawn from one seed.

    plan.py      what a seed decides beforehand: size, configuration, which faults may happen
    world.py     members of one group by turns, a log that grows, the faults
    run.py       one seed from its plan to its checks
    checks.py    what must hold afterwards: the undisturbed run, the replay of log and journal, the counts
    mutants.py   steps broken on purpose, which the seeds must find
    seeds.py     seeds that once failed

`python -m tests.simulation --seeds N --start K` runs more (`make soak`), `--seed K` one, with its trace.
"""
