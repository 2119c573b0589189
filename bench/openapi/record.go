package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
)

// record is an answer as package internal/transcript wrote it.
type record struct {
	Method, Path string
	Status       int
	Header       http.Header
	Body         []byte
	Cut          bool // Body is only the beginning
}

// readAll reads the records in a folder.
func readAll(folder string) ([]record, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.jsonl"))
	if err != nil {
		return nil, err
	}
	var all []record
	for _, file := range files {
		some, err := readFile(file)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		all = append(all, some...)
	}
	return all, nil
}

func readFile(name string) (all []record, err error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	decoder := json.NewDecoder(bufio.NewReader(file))
	for {
		var r record
		switch err := decoder.Decode(&r); {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF): // a process that was killed
			return all, nil
		case err != nil:
			return nil, err
		}
		all = append(all, r)
	}
}
