-- Read the texts that a section remembers under some names.
-- KEYS 1 memory   ARGV names
-- Returns the text of each, '' where there is none.
local t, texts = now(), {}
for i, name in ipairs(ARGV) do texts[i] = recalled(KEYS[1], name, t) end
return texts
