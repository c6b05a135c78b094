"""Alerts: series that leave their thresholds, devices that fall silent."""
