package execution

import "crypto/sha256"

// Blob is content of any size in the store. It is written once and does not change.
type Blob struct {
	ID   int64 // given by the store
	Size int64 // bytes
	Sum  [sha256.Size]byte
}
