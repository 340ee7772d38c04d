"""The sections [feed_NAME], and what a feed is to the stages that handle it."""
