package execution

import "crypto/sha256"

// Blob is content of any size that the store keeps: it was written once and does not change.
type Blob struct {
	ID   int64 // the store's
	Size int64 // bytes
	Sum  [sha256.Size]byte
}
