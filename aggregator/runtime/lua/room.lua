-- Check whether a source may go on.
-- KEYS queue, returned, delayed of each bounded target   ARGV depth limit of each target
-- Returns the number of the first target that is full, or 0.
return first_full(1, 1, #ARGV)
