"""The prober: how long from posting a reading to its being queryable, measured from outside, in production too."""
