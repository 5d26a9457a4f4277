package zcrx

// wakeUp puts a value into a channel that holds one.
func wakeUp(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // one wake-up is there already
	}
}
