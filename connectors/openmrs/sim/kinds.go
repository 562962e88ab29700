package sim

import (
	"strings"
)

var (
	nameKeys    = []string{"givenName", "middleName", "familyName", "familyName2", "preferred", "prefix", "familyNamePrefix", "familyNameSuffix", "degree"}
	addressKeys = []string{"preferred", "address1", "address2", "cityVillage", "stateProvince", "country", "postalCode", "countyDistrict",
		"address3", "address4", "address5", "address6", "startDate", "endDate", "latitude", "longitude",
		"address7", "address8", "address9", "address10", "address11", "address12", "address13", "address14", "address15"}
)

var kinds = func() map[string]*kind {
	address := "display,uuid," + strings.Join(addressKeys[:16], ",") + ",voided," + strings.Join(addressKeys[16:], ",")
	list := []*kind{
		{resource: "patient", class: "Patient", version: "1.8",
			def:  mustRep("default", "uuid,display,identifiers:ref,person:default,voided"),
			full: mustRep("full", "uuid,display,identifiers:default,person:full,voided,auditInfo")},
		{resource: "person", class: "Person", version: "1.11",
			def:  mustRep("default", "uuid,display,gender,age,birthdate,birthdateEstimated,dead,deathDate,causeOfDeath:ref,preferredName:ref,preferredAddress:ref,attributes:ref,voided,birthtime,deathdateEstimated"),
			full: mustRep("full", "uuid,display,gender,age,birthdate,birthdateEstimated,dead,deathDate,causeOfDeath:ref,preferredName,preferredAddress,names,addresses,attributes,voided,auditInfo,birthtime,deathdateEstimated,causeOfDeathNonCoded")},
		{resource: "person/name", class: "PersonName", version: "1.8",
			def:  mustRep("default", "display,uuid,givenName,middleName,familyName,familyName2,voided"),
			full: mustRep("full", "display,uuid,"+strings.Join(nameKeys, ",")+",voided,auditInfo")},
		{resource: "person/address", class: "PersonAddress", version: "2.0", def: mustRep("default", address), full: mustRep("full", address+",auditInfo")},
		{resource: "person/attribute", class: "PersonAttribute", version: "1.8",
			def: mustRep("default", "display,uuid,value,attributeType:ref,voided"), full: mustRep("full", "display,uuid,value,attributeType:ref,voided,auditInfo,hydratedObject")},
		{resource: "patient/identifier", class: "PatientIdentifier", version: "1.8",
			def:  mustRep("default", "display,uuid,identifier,identifierType:ref,location:ref,preferred,voided"),
			full: mustRep("full", "display,uuid,identifier,identifierType:default,location:default,preferred,voided,auditInfo")},
		{resource: "visit", class: "Visit", version: "1.9",
			def:  mustRep("default", "uuid,display,patient:ref,visitType:ref,indication:ref,location:ref,startDatetime,stopDatetime,encounters:ref,attributes:ref,voided"),
			full: mustRep("full", "uuid,display,patient:ref,visitType:ref,indication:ref,location:ref,startDatetime,stopDatetime,encounters:default,attributes:default,voided,auditInfo")},
		{resource: "encounter", class: "Encounter", version: "2.2",
			def:  mustRep("default", "uuid,display,encounterDatetime,patient:ref,location:ref,form:ref,encounterType:ref,obs:ref,orders:ref,voided,visit:ref,encounterProviders:ref,diagnoses:ref"),
			full: mustRep("full", "uuid,display,encounterDatetime,patient:ref,location:default,form:default,encounterType:default,obs:default,orders:default,voided,auditInfo,visit:default,encounterProviders:default,diagnoses:default")},
		{resource: "encounter/encounterprovider", class: "EncounterProvider", version: "1.9",
			def: mustRep("default", "uuid,provider:ref,encounterRole:ref,voided"), full: mustRep("full", "uuid,provider:default,encounterRole:default,voided,auditInfo")},
		{resource: "obs", class: "Obs", version: "2.1",
			def: mustRep("default", obsProps("ref")), full: mustRep("full", strings.Replace(obsProps("default"), ",voided,", ",voided,auditInfo,", 1))},
		meta("concept", "Concept", "2.0", "uuid,display,name:ref,datatype:ref,conceptClass:ref,set,version,retired",
			"uuid,display,name:ref,datatype:default,conceptClass:ref,set,version,retired,names:ref,descriptions:ref,mappings:ref,answers:ref,setMembers:ref,auditInfo,attributes:ref,hiNormal,hiAbsolute,hiCritical,lowNormal,lowAbsolute,lowCritical,units,allowDecimal,displayPrecision"),
		meta("patientidentifiertype", "PatientIdentifierType", "2.0", "uuid,display,name,description,format,formatDescription,required,validator,locationBehavior,uniquenessBehavior,retired", ""),
		meta("personattributetype", "PersonAttributeType", "1.8", "uuid,display,name,description,format,foreignKey,sortWeight,searchable,editPrivilege,retired", ""),
		meta("location", "Location", "2.0", "uuid,display,name,description,tags:ref,parentLocation:ref,childLocations:ref,retired,attributes:ref", ""),
		meta("provider", "Provider", "1.9", "uuid,display,person:ref,identifier,attributes:ref,retired", ""),
		meta("idgen/identifiersource", "IdentifierSource", "1.8", "uuid,name,description,retired", ""),
		meta("idgen/autogenerationoption", "AutoGenerationOption", "1.8", "uuid,identifierType:default,location:ref,source:default,manualEntryEnabled,automaticGenerationEnabled", ""),
		meta("conceptdatatype", "ConceptDatatype", "1.8", "uuid,display,name,description,hl7Abbreviation,retired", ""),
		meta("systemsetting", "GlobalProperty", "1.9", "uuid,property,value,description,display", ""),
	}
	for _, plain := range []string{"visittype:VisitType:1.9", "encountertype:EncounterType:1.8", "encounterrole:EncounterRole:1.8",
		"conceptclass:ConceptClass:1.8", "relationshiptype:RelationshipType:1.8", "form:Form:1.8", "caresetting:CareSetting:1.10", "ordertype:OrderType:1.10",
		"conceptmaptype:ConceptMapType:1.8", "conceptname:ConceptName:1.9", "conceptmapping:ConceptMap:1.8", "user:User:1.8"} {
		p := strings.Split(plain, ":")
		list = append(list, meta(p[0], p[1], p[2], "uuid,display,name,description,retired", ""))
	}
	out := map[string]*kind{}
	for _, k := range list {
		out[k.resource] = k
	}
	return out
}()

func obsProps(sub string) string {
	return "uuid,display,concept:" + sub + ",person:ref,obsDatetime,accessionNumber,obsGroup:ref,valueCodedName:ref,groupMembers:" + sub +
		",comment,location:ref,order:ref,encounter:ref,voided,value,valueModifier,formFieldPath,formFieldNamespace,status,interpretation"
}

func meta(resource, class, version, def, full string) *kind {
	if full == "" {
		full = def + ",auditInfo"
	}
	return &kind{resource: resource, class: class, version: version, retires: true, def: mustRep("default", def), full: mustRep("full", full)}
}
