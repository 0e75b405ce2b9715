"""Charts as inline SVG: scales, a plane with axes, bars, heatmaps, pictures of pixels. Knows numbers and words only."""
