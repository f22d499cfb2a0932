// Package rqadapter speaks the line protocol of conformance/SPEC.md; it needs the standard library only.
package rqadapter

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// ErrUnsupported is returned by an engine for a case that it does not know.
var ErrUnsupported = errors.New("unsupported")

// Rejected is returned for input that breaks a rule; the text is the rule's code.
type Rejected string

func (code Rejected) Error() string { return string(code) }

// Place is an array in a file: little-endian, in C order.
type Place struct {
	Name  string `json:"name"`
	Dtype string `json:"dtype"`
	Shape []int  `json:"shape"`
	Path  string `json:"path"`
	Off   int64  `json:"off"`
	Len   int64  `json:"len"`
}

// Case is what is asked. Inputs holds the bytes of each input by name.
type Case struct {
	Op     string                     `json:"op"`
	Params map[string]json.RawMessage `json:"params"`
	In     []Place                    `json:"in"`
	Out    []Place                    `json:"out"`
	Inputs map[string][]byte          `json:"-"`
}

type message struct {
	Cmd string `json:"cmd"`
	Seq int64  `json:"seq"`
	Case
}

// Param is a parameter that is a text, or an empty text.
func (c *Case) Param(key string) string {
	var text string
	if json.Unmarshal(c.Params[key], &text) != nil {
		return ""
	}
	return text
}

func load(place Place) ([]byte, error) {
	file, err := os.Open(place.Path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data := make([]byte, place.Len)
	_, err = io.ReadFull(io.NewSectionReader(file, place.Off, place.Len), data)
	return data, err
}

func answer(c *Case, run func(*Case) (map[string][]byte, error)) error {
	c.Inputs = map[string][]byte{}
	for _, place := range c.In {
		data, err := load(place)
		if err != nil {
			return err
		}
		c.Inputs[place.Name] = data
	}
	written, err := run(c)
	if err != nil {
		return err
	}
	for _, place := range c.Out {
		data, found := written[place.Name]
		if !found {
			return fmt.Errorf("no output %s", place.Name)
		}
		if err := os.WriteFile(place.Path, data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func said(seq int64, err error) map[string]any {
	var rejected Rejected
	switch {
	case err == nil:
		return map[string]any{"seq": seq, "outcome": "ok"}
	case errors.Is(err, ErrUnsupported):
		return map[string]any{"seq": seq, "outcome": "unsupported"}
	case errors.As(err, &rejected):
		return map[string]any{"seq": seq, "outcome": "rejected", "code": string(rejected)}
	}
	return map[string]any{"seq": seq, "outcome": "error", "detail": err.Error()}
}

// Serve answers requests on standard input until `bye`.
func Serve(name string, features []string, run func(*Case) (map[string][]byte, error)) error {
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		var m message
		if err := json.Unmarshal(line, &m); err != nil {
			return err
		}
		var reply map[string]any
		switch m.Cmd {
		case "bye":
			return nil
		case "hello":
			engine := map[string]string{"name": name, "language": "Go"}
			reply = map[string]any{"engine": engine, "features": features}
		case "run":
			reply = said(m.Seq, answer(&m.Case, run))
		default:
			reply = said(m.Seq, ErrUnsupported)
		}
		text, err := json.Marshal(reply)
		if err != nil {
			return err
		}
		fmt.Printf("@rq %s\n", text)
	}
}
