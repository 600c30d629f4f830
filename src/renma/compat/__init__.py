"""A door for users of kohya-ss/sd-scripts: its command lines, files and presets become runs."""
