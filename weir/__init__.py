"""The program around the streams: settings, errors, the command line and the embedded servers."""
