package hopx

// Names for the tests.
const (
	FrameDistance = frameDistance
	MaxListed     = maxListed
	TokenLife     = tokenLife
)

// Functions for the tests.
var (
	OneWord = oneWord
	Written = written
)
