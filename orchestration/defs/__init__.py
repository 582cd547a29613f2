"""The component's YAML, schedules, sensors, actions."""
