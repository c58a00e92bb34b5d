"""One module per noun, a class per URL, a method per verb."""
