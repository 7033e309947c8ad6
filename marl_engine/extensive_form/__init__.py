"""Games with chance and imperfect information as arrays: trees, sequence form, regularised updates."""
