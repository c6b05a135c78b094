"""The routes, one file a subject: read what came, call the service in one transaction, give back what it gave."""
