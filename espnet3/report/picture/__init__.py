"""The metric over the swept keys as a PNG file, for papers and READMEs."""
