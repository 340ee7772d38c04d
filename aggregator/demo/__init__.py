"""The demo: three programs that let a pipeline run without a repository. Delete their sections for a real deployment.

replay.py        writes a real access log (SOURCES.md) again and again, dated now, and rotates it
tracker.py       plays the usage tracker of IRUS: checks pings, counts them, is sometimes slow or away
feedserver.py    plays live feeds, with the faults that public feeds have

publications.py  the publications of the feeds
server.py        the common part of the two servers
stopping.py      tells each of the three programs when to end
"""
