// Package docs holds the pages of the documentation that the program serves.
package docs

import _ "embed"

// OpenAPI is the description of the HTTP interface. Package openapi makes it; a test compares them.
//
//go:embed openapi.json
var OpenAPI []byte

// Errors and ErrorsZH have a section for each problem, headed by its slug, in English and Chinese.
var (
	//go:embed errors.md
	Errors string
	//go:embed zh/errors.md
	ErrorsZH string
)
