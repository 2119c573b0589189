package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// program is a process under measurement, on its own core.
type program struct {
	name   string
	url    string
	log    *os.File // what it prints
	passes bool     // it passes every call through, and checks and logs nothing
	cmd    *exec.Cmd
}

// start runs the program on one core, or on all if core is "", until its stop. The program does not
// outlive this process.
func (p *program) start(core string, env []string, command ...string) error {
	if core != "" {
		command = append([]string{"taskset", "-c", core}, command...)
	}
	p.cmd = exec.Command(command[0], command[1:]...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true} // Ctrl-C is for this process, which stops the others in order
	return p.cmd.Start()
}

func (p *program) address() string { return strings.TrimPrefix(p.url, "http://") }

func (p *program) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	late := time.AfterFunc(10*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	err := p.cmd.Wait()
	if signalled := (*exec.ExitError)(nil); errors.As(err, &signalled) && signalled.Sys().(syscall.WaitStatus).Signal() == syscall.SIGTERM {
		return nil // the bare proxy knows no other way to end
	}
	return err
}

// Linux counts a process's time in ticks of 10 ms.
const tick = 10 * time.Millisecond

// cpu is the user and system time that the program has used.
func (p *program) cpu() (time.Duration, error) {
	s, err := readStat(p.cmd.Process.Pid)
	return s.own, err
}

// stat is what Linux reports about a process.
type stat struct {
	parent   int
	own      time.Duration // user and system
	children time.Duration // of those that have ended
}

func readStat(pid int) (stat, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	// The second field is the command's name in parentheses. The parent is the 4th, utime, stime,
	// cutime and cstime are the 14th to 17th.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	var n [5]int
	var faults [5]error
	for i, at := range []int{1, 11, 12, 13, 14} {
		n[i], faults[i] = strconv.Atoi(string(fields[at]))
	}
	return stat{n[0], time.Duration(n[1]+n[2]) * tick, time.Duration(n[3]+n[4]) * tick}, errors.Join(faults[:]...)
}

// cpuOfServer is the time that a process and all its children have used, including children that
// ended.
func cpuOfServer(pid int) (time.Duration, error) {
	all, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	own, err := readStat(pid)
	if err != nil {
		return 0, err
	}
	sum := own.own + own.children
	for _, entry := range all {
		if child, err := strconv.Atoi(entry.Name()); err == nil {
			if s, err := readStat(child); err == nil && s.parent == pid {
				sum += s.own
			}
		}
	}
	return sum, nil
}

// memory is the program's resident memory in MB.
func (p *program) memory() (float64, error) { return p.status("VmRSS:") }

// highestMemory is the most that the program's resident memory ever was, in MB.
func (p *program) highestMemory() (float64, error) { return p.status("VmHWM:") }

func (p *program) status(name string) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), name)
	kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	return kb / 1024, err
}

// listening waits until address accepts connections.
func listening(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var dialer net.Dialer
	for {
		c, err := dialer.DialContext(ctx, "tcp", address)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nobody listens at %s: %w", address, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// freeAddress is a free address on loopback.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
