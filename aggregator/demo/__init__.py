"""The demo: three programs that let a pipeline run without a repository. Delete their sections for a real deployment.

replay.py        writes a real access log (SOURCES.md) again and again, dated now, and rotates it
tracker.py       plays the usage tracker of IRUS: checks pings, counts them, is sometimes slow or away
feedserver.py    plays live feeds, with all that public feeds do to those who archive them

publications.py  what the feeds publish
server.py        what the two servers share
stopping.py      when any of the three has to end
"""
