"""Rules as rule managers keep them in Redis: reading, changing, sending to a platform, matching."""
