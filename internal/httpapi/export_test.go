package httpapi

// MaxTrials is for the tests.
const MaxTrials = maxTrials
