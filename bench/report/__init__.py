"""Every benchmark one after the other, and the page and the plots that are made from what they gave."""
