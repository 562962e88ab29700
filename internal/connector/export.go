package connector

// Exporter is a System whose people upload files by hand, and that can write
// such a file of what a plan would send.
type Exporter interface {
	// Formats are the formats that Export writes, the usual one first: "json".
	Formats() []string
}
