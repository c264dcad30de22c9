//! One module per contract, generated from its artifact.
#![allow(missing_docs, reason = "generated from the ABI; the Solidity sources hold the docs")]
#![allow(clippy::too_many_arguments, reason = "generated")]

use alloy_sol_types::sol;

sol!(
    #[sol(all_derives)]
    Registry,
    "../../contracts/artifacts/Registry.json"
);
sol!(
    #[sol(all_derives)]
    WebAuthnVerifier,
    "../../contracts/artifacts/ERC7913WebAuthnVerifier.json"
);
sol!(
    #[sol(all_derives)]
    PatientAccounts,
    "../../contracts/artifacts/PatientAccounts.json"
);
sol!(
    #[sol(all_derives)]
    PatientAccount,
    "../../contracts/artifacts/PatientAccount.json"
);
sol!(
    #[sol(all_derives)]
    Relationships,
    "../../contracts/artifacts/Relationships.json"
);
sol!(
    #[sol(all_derives)]
    Records,
    "../../contracts/artifacts/Records.json"
);
sol!(
    #[sol(all_derives)]
    Consents,
    "../../contracts/artifacts/Consents.json"
);
sol!(
    #[sol(all_derives)]
    EmergencyAccess,
    "../../contracts/artifacts/EmergencyAccess.json"
);
sol!(
    #[sol(all_derives)]
    Prescriptions,
    "../../contracts/artifacts/Prescriptions.json"
);
sol!(
    #[sol(all_derives)]
    LabOrders,
    "../../contracts/artifacts/LabOrders.json"
);
sol!(
    #[sol(all_derives)]
    AccessLog,
    "../../contracts/artifacts/AccessLog.json"
);
