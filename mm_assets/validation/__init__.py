"""Great Expectations suites: tables and thresholds in, a `SuiteResult` out."""
