package audit

import "time"

// View is an entry as it is shown.
type View struct {
	ID        ID        `json:"id"`
	At        time.Time `json:"at"`
	Actor     Who       `json:"actor"`
	Action    Action    `json:"action"`
	Tenant    Owner     `json:"tenant,omitempty"` // whose the subject is; "" if it is the operator's own
	Subject   Subject   `json:"subject"`
	Before    Values    `json:"before"` // null if the subject did not exist, or the action has no values
	After     Values    `json:"after"`  // null if the subject is gone, or the action has no values
	RequestID string    `json:"request_id,omitempty"`
}

// Subject is what was changed.
type Subject struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
}

// View returns the entry as the operator sees it.
func (e Entry) View() View {
	return View{
		ID: e.ID, At: e.At.UTC(), Actor: e.By.Who(), Action: e.Action, Tenant: e.Owner,
		Subject: Subject{e.Action.Kind(), e.Subject}, Before: e.Before, After: e.After, RequestID: e.RequestID,
	}
}

// TenantView returns the entry as the tenant that owns the subject sees it. It names no operator
// and no host.
func (e Entry) TenantView() View {
	v := e.View()
	if e.By.Kind() != "client" {
		v.Actor = Who{Kind: e.By.Kind()}
	}
	return v
}
