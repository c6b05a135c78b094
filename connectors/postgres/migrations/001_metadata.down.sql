DROP TABLE sensors, metrics, devices, projects, organisations;
