package store

import "context"

// OpenWith is OpenPart with another driver of database/sql.
var OpenWith = openWith

// DSN returns the data source name of a reader.
func DSN(path string) string { return dsn(path, "ro", Defaults().BusyTimeout) }

// UsedBytes returns the bytes of the pages in use.
func (s *Store) UsedBytes(ctx context.Context) (size int64, err error) {
	return size, s.readers.row(ctx, `SELECT (p.page_count - f.freelist_count) * z.page_size
		FROM pragma_page_count p, pragma_freelist_count f, pragma_page_size z`).Scan(&size)
}
