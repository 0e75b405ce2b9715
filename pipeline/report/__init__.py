"""The page about a competition: reads artifacts through their types, computes, renders one HTML file."""
