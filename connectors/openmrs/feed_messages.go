package openmrs

import "github.com/kiungo-health/kiungo/internal/connector"

// Kinds of messages.
const (
	kindPatient     = "patient"
	kindEncounter   = "encounter"
	kindObservation = "observation"
	kindOther       = "other"
)

func feedMessages() []connector.MessageSpec {
	entry := connector.NameSpec{Name: "entry", About: "What the feed said. resource and uuid are the thing that was written; action is one of CREATED, UPDATED, VOIDED, UNVOIDED, DELETED " +
		"where the server's module says it; feed is the feed's name, or sweep.",
		Fields: []string{"id", "title", "updated", "category", "action", "feed", "page", "resource", "uuid", "link", "encounter"}}
	subject := connector.NameSpec{Name: "subject", About: "Whose it is: the uuid of the patient.", Fields: []string{"id", "uuid"}}
	server := connector.NameSpec{Name: "server", Fields: []string{"name", "place", "places"}, About: "The OpenMRS system that it came from: its name, and the places that it serves."}
	patient := connector.NameSpec{Name: "patient", Remote: true, Kind: "Patient", Key: "id", Fields: patientShown,
		About: "The patient as she is now. One who was merged into another is shown as that one, so that patient.uuid is not subject.uuid then. One who was voided or removed, or merged " +
			"into nobody knows whom, has voided: with where: not patient.voided what was made of her is taken back."}
	encounter := connector.NameSpec{Name: "encounter", Remote: true, Fields: encounterShown,
		About: "The encounter as it is now. answers has the values by the concepts asked: by uuid, and by SOURCE:code with coded answers as codes of that source; " +
			"answer(encounter.answers, q) reads them by a table's column question. obs is the list, groups with members. ours: this integration's own user made it, and nobody has changed it since (an echo)."}
	from := map[string]string{"action": "entry/action", "feed": "entry/feed", "resource": "entry/resource"}
	return []connector.MessageSpec{
		{Name: kindPatient, Live: true, About: "A patient was saved: an entry of an atom feed, or found by the sweep. It says who, not what: the patient is read when planning.",
			From: from, Names: []connector.NameSpec{entry, subject, server, patient}},
		// Not live: encounters are many documents of one person, and one that is read
		// now may tell of an earlier day than what another has set.
		{Name: kindEncounter, About: "An encounter was saved; withdrawn when it was voided or removed. Its patient is known, its content is read when planning. It happened when the encounter did: " +
			"one of an earlier day leaves what a later one has set.",
			From: from, Names: []connector.NameSpec{entry, subject, server, encounter, patient}},
		{Name: kindObservation, Live: true, About: "An observation was saved; withdrawn when it was voided. OpenMRS gives a changed observation a new uuid and voids the old one: " +
			"what shall follow an observation through its changes is better taken from its encounter, of which a message comes along.",
			From: from, Names: []connector.NameSpec{entry, subject, server,
				{Name: "obs", Remote: true, Fields: obsShown, About: "The observation as it is now."}, encounter, patient}},
		{Name: kindOther, About: "An entry about something else: a bed assignment, a visit, a programme enrolment. Who it concerns is not said.",
			From: from, Names: []connector.NameSpec{entry, server}},
	}
}
