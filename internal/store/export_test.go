package store

// OpenWith is OpenPart with another driver of database/sql.
var OpenWith = openWith

// DSN returns the data source name of a reader.
func DSN(path string) string { return dsn(path, "ro", Defaults().BusyTimeout) }
