"""Write the list of Python packages that an interpreter has (SBOM), as CycloneDX 1.6 in JSON.

    python deploy/sbom.py > sbom.cdx.json

Names, versions, licences and which package needs which, from the metadata that the packages were installed
with. Equal packages give equal bytes: there is no time and no random number in it.
"""

from __future__ import annotations

import json
import re
import sys
from importlib.metadata import Distribution, distributions
from typing import Any

OURS = "stream-anomaly-detector"
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def sbom() -> dict[str, Any]:
    """The list for the interpreter that runs."""
    found: dict[str, Distribution] = {}
    for one in distributions():
        found.setdefault(_normal(one.name), one)  # the first one of the path is imported
    components = {name: _component(name, one) for name, one in sorted(found.items())}
    dependencies = [
        {
            "ref": _url(name, one),
            "dependsOn": sorted(_url(need, found[need]) for need in _needs(one) & found.keys()),
        }
        for name, one in sorted(found.items())
    ]
    own = components.pop(OURS)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": own | {"type": "application"}},
        "components": list(components.values()),
        "dependencies": dependencies,
    }


def _normal(name: str) -> str:
    """A name as in a package URL (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _url(name: str, one: Distribution) -> str:
    return f"pkg:pypi/{name}@{one.version}"


def _component(name: str, one: Distribution) -> dict[str, Any]:
    url = _url(name, one)
    component = {"type": "library", "bom-ref": url, "name": name, "version": one.version, "purl": url}
    licence = one.metadata.get("License-Expression")
    if licence:
        return component | {"licenses": [{"expression": licence}]}
    told = [text for text in one.metadata.get_all("Classifier") or () if text.startswith("License ::")]
    names = [text.rpartition(" :: ")[2] for text in told]
    return component | ({"licenses": [{"license": {"name": text}} for text in names]} if names else {})


def _needs(one: Distribution) -> set[str]:
    """Packages that one may need, whatever the extra or the platform."""
    names = (_NAME.match(text) for text in one.requires or ())
    return {_normal(name[0]) for name in names if name is not None}


if __name__ == "__main__":
    json.dump(sbom(), sys.stdout, indent=1)
    sys.stdout.write("\n")
