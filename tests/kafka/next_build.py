"""`python -m tests.kafka.next_build`: the service as a later version could be.

Its scores differ from this version's. Its checkpoints have the next format, whose state has one more key; it
reads those of this version, too. With `NEXT_BUILD_SAME_FORMAT` only the scores differ.
"""

from __future__ import annotations

import os
from typing import Any

from detector.core.recovery import checkpoint, upgrade
from detector.core.shard import warm_start
from detector.core.shard.scoring import Mixed, Scorer
from detector.core.shard.shard import Shard

SAME_FORMAT = "NEXT_BUILD_SAME_FORMAT"
FORMAT = upgrade.FORMAT + 1
SCALE = 0.9  # of the scores

_mixed, _to_state = Scorer._mixed, Shard.to_state


def mixed(self: Scorer, *arguments: Any) -> Mixed:
    """Replaces `Scorer._mixed`."""
    found = _mixed(self, *arguments)
    return found._replace(scores=found.scores * SCALE)


def to_state(self: Shard) -> dict[str, Any]:
    """Replaces `Shard.to_state`. What `Shard.load` reads must have the same form."""
    return _to_state(self) | {"scale": SCALE}


if __name__ == "__main__":
    from detector.cli import main

    Scorer._mixed = mixed  # type: ignore[method-assign]
    if not os.environ.get(SAME_FORMAT):
        upgrade.STEPS[upgrade.FORMAT] = lambda state: {**state, "scale": SCALE}
        upgrade.FORMAT = checkpoint.FORMAT = warm_start.FORMAT = FORMAT
        Shard.to_state = to_state  # type: ignore[method-assign]
    main()
