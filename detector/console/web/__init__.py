"""Pages of the console: a Starlette application over a `Book`.

    app.py        routes, and what every request and answer passes
    guard.py      hosts, sizes, headers
    visit.py      one request: person, role, form; the templates' environment
    queue.py bulk.py case.py answers.py report.py about.py    pages, by area
    acts.py       what a form says, as a command
    drawing.py text.py addresses.py    SVG, texts, links
    templates/ static/

Everything works without the script; it adds keys, the reader's zone and what is new.
"""

from detector.console.web.app import make_app
from detector.console.web.visit import Replica

__all__ = ["Replica", "make_app"]
