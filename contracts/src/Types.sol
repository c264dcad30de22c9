// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

// The numbers that the contracts and every program around them share. They are stored, signed and
// emitted, so a number never changes its meaning: a new one is added at the end.
//
// Two more vocabularies are numbers here and names only in the programs:
// - a kind of record is bit `n` of a `uint32`, and as a value a `uint8` below 32;
// - a purpose of use is bit `n` of a `uint16`, and as a value a `uint8` below 16.
//
// Every time is a `uint40`, in seconds since 1970. Forty bits last for 34,000 years and let a key
// with its member and its two times fit one storage slot.

/// @notice What an institution is to the network.
enum InstitutionRole {
    None,
    Hospital,
    Laboratory,
    Pharmacy,
    Emergency,
    Insurer,
    Research,
    Regulator,
    DeviceMaker
}

/// @notice What a professional is accredited to be, at one institution.
enum ProfessionalRole {
    None,
    Physician,
    Surgeon,
    Nurse,
    Pharmacist,
    LaboratoryScientist,
    Paramedic,
    PrivacyOfficer,
    Adjudicator,
    Researcher,
    Auditor
}
