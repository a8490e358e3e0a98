//! One Parse request, whoever sends it: authorize, run the before-trigger, validate, commit.
