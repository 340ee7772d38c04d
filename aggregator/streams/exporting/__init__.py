"""Exports of streams: which events, in which form, with what stands beside them."""
