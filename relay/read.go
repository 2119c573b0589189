package relay

import (
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"wxplatform/internal/strict"
	"wxplatform/wechat"
)

const (
	// UploadLimit is the largest body that is relayed, in bytes.
	UploadLimit = 100 << 20
	keptLimit   = 256 << 10 // a body up to this size is kept, so that it can be repeated with another token
	measured    = 1 << 20   // a body without a Content-Length is kept up to this size
	tokenName   = "access_token"
)

// read reads a request for an API. query is the caller's, without the JWT. It fails with a
// *strict.Fault, ErrLength or ErrTooLarge, and then nothing was sent.
func read(request *http.Request, api API, query string) (Request, error) {
	r := Request{API: api, Query: query}
	var err error
	if r.ContentType, err = single(request.Header, "Content-Type"); err != nil {
		return Request{}, err
	}
	if r.Header, err = signatures(request.Header); err != nil {
		return Request{}, err
	}
	if err := checkQuery(query); err != nil {
		return Request{}, err
	}
	err = r.readBody(request)
	return r, err
}

// readBody keeps a short body. A longer one is handed on while it is read.
func (r *Request) readBody(request *http.Request) error {
	length := request.ContentLength
	switch {
	case r.API.Method == http.MethodGet && length != 0:
		return &strict.Fault{Why: "a GET has no body"}
	case length > UploadLimit:
		return ErrTooLarge
	case length > keptLimit:
		r.Upload, r.Length = request.Body, length
		return nil
	case length == 0:
		return nil
	}
	return r.keep(request.Body, length)
}

// keep reads a body whose length is short, or unknown (-1).
func (r *Request) keep(body io.Reader, length int64) error {
	kept, err := io.ReadAll(io.LimitReader(body, measured+1))
	switch {
	case err != nil, length >= 0 && int64(len(kept)) != length:
		return &strict.Fault{Why: "body could not be read"}
	case len(kept) > measured:
		return ErrLength
	}
	r.Body = kept
	return nil
}

// single returns the only value of a header field, or "".
func single(header http.Header, name string) (string, error) {
	values := header[name]
	if len(values) > 1 {
		return "", &strict.Fault{Field: name, Why: "is given twice"}
	}
	return strings.Join(values, ""), nil
}

// signaturePrefix begins the names of the header fields of WeChat's API signatures, in the form
// that net/http gives them.
const signaturePrefix = "Wechatmp-"

// signatures returns the header fields that WeChat reads besides Content-Type.
func signatures(header http.Header) ([]wechat.Field, error) {
	var fields []wechat.Field
	for name := range header {
		if strings.HasPrefix(name, signaturePrefix) {
			value, err := single(header, name)
			if err != nil {
				return nil, err
			}
			fields = append(fields, wechat.Field{Name: name, Value: value})
		}
	}
	slices.SortFunc(fields, func(a, b wechat.Field) int { return strings.Compare(a.Name, b.Name) })
	return fields, nil
}

// checkQuery refuses a query in which a reader could find a token, whatever it takes for a
// separator, for an escape or for the same name. Only the platform adds one.
func checkQuery(query string) error {
	for _, c := range []byte(query) {
		if c <= ' ' || c == 0x7f || c == '#' {
			return &strict.Fault{Why: "the query has a byte that must be escaped"}
		}
	}
	for part := range strings.FieldsFuncSeq(query, separates) {
		name, _, _ := strings.Cut(part, "=")
		if strings.Contains(folded(name), tokenName) {
			return &strict.Fault{Field: tokenName, Why: "is not a parameter of this request"}
		}
	}
	return nil
}

func separates(r rune) bool { return r == '&' || r == ';' || r == '?' }

// folded returns a parameter's name without escapes and in lower case. It removes escapes twice,
// because some readers do.
func folded(name string) string {
	for range 2 {
		if plain, err := url.QueryUnescape(name); err == nil {
			name = plain
		}
	}
	return strings.ToLower(strings.ToValidUTF8(name, string(utf8.RuneError)))
}

// withoutToken takes the JWT out of a query, and leaves every other byte of it as it is.
func withoutToken(query string) string {
	var kept []string
	for part := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(part, "=")
		if plain, err := url.QueryUnescape(name); err != nil || plain != tokenName {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, "&")
}
