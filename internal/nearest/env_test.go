package nearest

import (
	"testing"

	"wxplatform/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }
