// Package sdkreader reads answers of the drop-in door as the strictest WeChat SDKs do. It is for
// tests only.
package sdkreader

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

// Check returns what at least one SDK could not read in an answer to a GET or POST of path, or nil.
// Of a file only the header is looked at.
func Check(path string, status int, header http.Header, body []byte) error {
	contentType := header.Get("Content-Type")
	looks := bytes.HasPrefix(body, []byte("{")) || strings.Contains(contentType, "json")
	switch {
	case status != http.StatusOK:
		return fmt.Errorf("the status is %d: most SDKs read no body then", status)
	case header.Get("Content-Encoding") != "":
		return errors.New("the answer is compressed, and some SDKs send no Accept-Encoding")
	case len(body) == 0:
		return errors.New("the body is empty, which WxJava takes for an error")
	case contentType == "":
		return errors.New("there is no Content-Type")
	case !looks:
		return nil
	case !strings.HasPrefix(contentType, "application/json"):
		return fmt.Errorf("the Content-Type of JSON is %q: WxJava and co-wechat-api take the answer for a file", contentType)
	case bytes.ContainsFunc(body, func(r rune) bool { return r < ' ' }):
		return errors.New("there is a control character between tokens, which co-wechat-api cannot parse")
	}
	return checkObject(path, body)
}

type answer struct {
	Code    *json.Number `json:"errcode"`
	Message *string      `json:"errmsg"`
	Token   *string      `json:"access_token"`
	Expires json.Number  `json:"expires_in"`
}

var (
	integer = regexp.MustCompile(`^-?[0-9]+$`)
	token   = regexp.MustCompile(`^[A-Za-z0-9_.-]{33,512}$`)
)

func checkObject(path string, body []byte) error {
	var a answer
	if err := unquoted(body); err != nil {
		return err
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return fmt.Errorf("the body is no JSON object that SDKs expect: %w", err)
	}
	switch {
	case a.Code != nil && !integer.MatchString(a.Code.String()):
		return fmt.Errorf("errcode is %s, not an integer", *a.Code)
	case a.Code != nil && *a.Code != "0" && a.Message == nil:
		return errors.New("there is no errmsg beside errcode, which wechatpy expects")
	case givesTokens(path) && (a.Code == nil || *a.Code == "0"):
		return a.checkToken()
	case givesTokens(path):
		return a.checkRefusedToken()
	}
	return nil
}

// unquoted refuses numbers in quotes, which json.Number would take.
func unquoted(body []byte) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return fmt.Errorf("the body is no JSON object: %w", err)
	}
	for _, name := range []string{"errcode", "expires_in"} {
		if bytes.HasPrefix(members[name], []byte(`"`)) {
			return fmt.Errorf("%s is text: typed SDKs expect a number", name)
		}
	}
	return nil
}

func givesTokens(path string) bool {
	path = "/" + strings.TrimLeft(path, "/")
	return path == "/cgi-bin/token" || path == "/cgi-bin/stable_token"
}

// checkToken checks an answer that gives a token. SDKs keep tokens of at most 512 characters, put
// them into URLs without escaping, and take short ones for appids.
func (a answer) checkToken() error {
	if a.Token == nil || !token.MatchString(*a.Token) {
		return errors.New("access_token is missing, is not of 33 to 512 characters, or has one that must be escaped in a URL")
	}
	seconds, err := a.Expires.Int64()
	if err != nil || seconds <= 1500 || seconds > 31556952 {
		return fmt.Errorf("expires_in is %q: silenceper keeps no token of 1500 s or less, and chanxuehong none of over a year", a.Expires)
	}
	return nil
}

// checkRefusedToken refuses the codes after which some SDK repeats the token call without end.
func (a answer) checkRefusedToken() error {
	switch *a.Code {
	case "40001", "42001", "-1":
		return fmt.Errorf("a token call is answered %s, and some SDK repeats it without end", *a.Code)
	}
	return nil
}

// Secret returns what at least one SDK could not do with a client's secret, or nil.
func Secret(secret string) error {
	if !secrets.MatchString(secret) {
		return errors.New("the secret has not 32 to 64 characters of A-Z, a-z, 0-9, _ and -: SDKs put it into URLs and names of files")
	}
	return nil
}

var secrets = regexp.MustCompile(`^[A-Za-z0-9_-]{32,64}$`)
