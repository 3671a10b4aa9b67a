"""Build the site: `python docs/build.py --out build/site`, or `make docs`.

1. The pages are copied, without the programs beside them, and built by zensical in strict mode: a link to
   a page or a heading that does not exist fails.
2. The API reference of all modules is made by pdoc, in the folder `api` of the site.
3. The result is checked as a browser sees it: every link, image, style and script of every page exists in the
   site, also in the generated parts, and nothing is loaded from elsewhere.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

DOCS = Path(__file__).parent
_LOADED = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"}
_NOT_LOADED = {"canonical", "next", "prev", "alternate"}  # relations of `link` that load nothing
_CSS_URL = re.compile(r"url\(\s*['\"]?(?!data:|#)([^)'\"]+)|@import\s+['\"]([^'\"]+)")


def build(out: Path, *, api: bool = True) -> None:
    """Write the site into a folder, which is replaced.

    Raises
    ------
    SystemExit
        A page is wrong; what was printed says where.
    """
    with tempfile.TemporaryDirectory() as folder:
        pages = Path(folder) / "pages"
        shutil.copytree(DOCS, pages, ignore=shutil.ignore_patterns("*.py", "*.toml", "__pycache__"))
        shutil.copy(DOCS / "zensical.toml", folder)
        command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit((done.stdout + done.stderr).partition("Traceback")[0])
        if out.exists():
            shutil.rmtree(out)
        shutil.copytree(Path(folder) / "site", out)
    if api:
        command = [
            sys.executable,
            "-m",
            "pdoc",
            "--docformat",
            "numpy",
            "--output-directory",
            str(out / "api"),
        ]
        subprocess.run([*command, "detector", "!detector.__main__"], check=True)


class _Page(HTMLParser):
    """Anchors of a page, its links, and what it loads."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := values.get(name))}
        if tag == "a" and (href := values.get("href")):
            self.links.append(href)
        related = set((values.get("rel") or "").split())
        if tag in _LOADED and (url := values.get(_LOADED[tag])) and not related & _NOT_LOADED:
            self.loads.append(url)


def problems(site: Path) -> Iterator[str]:
    """What a reader of the site would miss, or would be sent elsewhere for."""
    site = site.resolve()
    pages: dict[Path, _Page] = {}
    for path in sorted(site.resolve().rglob("*.html")):
        pages[path] = _Page()
        pages[path].feed(path.read_text())
    for path, page in pages.items():
        name = path.relative_to(site)
        for url in page.loads:
            if urlsplit(url).netloc:
                yield f"{name} loads {url}"
        if name.name == "404.html" or name.parts[0] == "api":  # pdoc and the server's paths: not by hand
            targets = [url for url in page.loads if not urlsplit(url).netloc and name.parts[0] != "api"]
        else:
            targets = [*page.links, *page.loads]
        for url in targets:
            yield from _missing(site, path, url, pages)
    for path in sorted(site.rglob("*.css")):
        for match in _CSS_URL.finditer(path.read_text()):
            url = match[1] or match[2]
            if urlsplit(url).netloc:
                yield f"{path.relative_to(site)} loads {url}"


def _missing(site: Path, page: Path, url: str, pages: dict[Path, _Page]) -> Iterator[str]:
    parts = urlsplit(url)
    if parts.scheme or parts.netloc:
        return
    start = site if parts.path.startswith("/") else page.parent
    target = (start / unquote(parts.path).lstrip("/")).resolve() if parts.path else page.resolve()
    target = target / "index.html" if target.is_dir() else target
    name = page.relative_to(site)
    if not target.is_file():
        yield f"{name} links to {url}, which does not exist"
    elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
        yield f"{name} links to {url}, and there is no such place on that page"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("build/site"))
    parser.add_argument("--no-api", action="store_true", help="without the API reference of all modules")
    given = parser.parse_args()
    build(given.out, api=not given.no_api)
    found = list(problems(given.out))
    for problem in found:
        print(problem, file=sys.stderr)
    if found:
        raise SystemExit(f"{len(found)} problems in {given.out}")
    print(f"{given.out}/index.html: {sum(1 for _ in given.out.rglob('*.html'))} pages, all links hold")


if __name__ == "__main__":
    main()
