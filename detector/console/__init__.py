"""The console: analysts work a queue of cases in a browser.

    topics (alerts, case updates, feedback, receipts) ─> `fold` ─> SQLite ─> `queries` ─> `web` pages
    an act of an analyst ─> `acts` ─> a feedback record ─> the topic of feedback ─> back through the fold

Nothing lives only here: the database is a fold of topics, and can be deleted and built again. The order in
which records of different topics arrive does not matter.
"""
