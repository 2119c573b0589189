// Package nodejs runs npm packages, each in a process of node that speaks JSON, a line for each
// call (node/client.js).
package nodejs

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"wxplatform/bench/sdk/sdk"
)

// Package opens an npm package of the folder node.
type Package struct {
	Name string // of the package
	Dir  string // the folder
}

type client struct {
	process *exec.Cmd
	calls   io.WriteCloser
	results *bufio.Reader
}

type settings struct {
	Package string `json:"package"`
	Base    string `json:"base"`
	AppID   string `json:"appid"`
	Secret  string `json:"secret"`
	Stable  bool   `json:"stable"`
	Dir     string `json:"dir"`
}

type call struct {
	Call     string    `json:"call"`
	Settings *settings `json:"settings,omitempty"`
	Args     []string  `json:"args,omitempty"`
}

type result struct {
	Value   string `json:"value"`
	Missing bool   `json:"missing"`
	Code    int    `json:"code"`
	Error   string `json:"error"`
}

// Open starts a process with an empty token cache.
func (p Package) Open(s sdk.Settings) (sdk.Client, error) {
	c := &client{process: exec.Command("node", "client.js")}
	c.process.Dir, c.process.Stderr = p.Dir, os.Stderr
	c.process.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+s.CA, "NODE_OPTIONS=--no-deprecation")
	results, err := c.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if c.calls, err = c.process.StdinPipe(); err != nil {
		return nil, err
	}
	c.results = bufio.NewReader(results)
	if err := c.process.Start(); err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	_, err = c.ask(call{Call: "open", Settings: &settings{p.Name, s.Base, s.AppID, s.Secret, s.Stable, s.Dir}})
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *client) ask(one call) (string, error) {
	line, err := json.Marshal(one)
	if err != nil {
		return "", err
	}
	if _, err := c.calls.Write(append(line, '\n')); err != nil {
		return "", err
	}
	answer, err := c.results.ReadBytes('\n')
	if err != nil {
		return "", fmt.Errorf("node said nothing: %w", err)
	}
	var r result
	if err := json.Unmarshal(answer, &r); err != nil {
		return "", fmt.Errorf("node said %.200q", answer)
	}
	return r.read()
}

func (r result) read() (string, error) {
	switch {
	case r.Missing:
		return "", sdk.ErrNotOffered
	case r.Error == "":
		return r.Value, nil
	}
	return "", sdk.Code(r.Code, r.Error, textOf(r))
}

// textOf returns an error without a code, which Told may find in its text.
func textOf(r result) error {
	if r.Code != 0 {
		return nil
	}
	return errors.New(r.Error)
}

func (c *client) do(name string, args ...string) error {
	_, err := c.ask(call{Call: name, Args: args})
	return err
}

func (c *client) Addresses() error                 { return c.do("addresses") }
func (c *client) Send(customer, text string) error { return c.do("send", customer, text) }
func (c *client) CreateMenu(name string) error     { return c.do("menu", name) }
func (c *client) Upload(file string) (string, error) {
	return c.ask(call{Call: "upload", Args: []string{file}})
}

func (c *client) LogIn(code string) (string, error) {
	return c.ask(call{Call: "login", Args: []string{code}})
}

func (c *client) LogInMini(code string) (string, error) {
	return c.ask(call{Call: "miniLogin", Args: []string{code}})
}

func (c *client) Download(mediaID string) ([]byte, error) {
	text, err := c.ask(call{Call: "download", Args: []string{mediaID}})
	if err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(text)
}

func (c *client) Session(call sdk.SessionCall, agent, customer string) error {
	return c.do(string(call), agent, customer)
}

// Close ends the process.
func (c *client) Close() {
	_ = c.calls.Close()
	_ = c.process.Wait()
}
