"""What each fact about an emergency room weighs, in minutes or in log-odds of a yes.

Assumptions by judgement until outcomes have been measured; each says why. ranking.py adds them up;
nothing that computes may enter here.
"""

from __future__ import annotations

from dispatch.routing_facts import EmergencyCentreLevel
from dispatch.triage import Capability

# Travel. Minutes on the road are minutes without a physician: for the dying patient each counts
# three times, because a bed or a specialist can be found after resuscitation has begun: ten minutes
# further for the free bed instead of a full resuscitation room nearby must not win.
TRAVEL_WEIGHT: dict[int, float] = {1: 3.0, 2: 1.5, 3: 1.0, 4: 1.0, 5: 1.0}
# Beyond this a crew leaves its district uncovered; soft, so that the countryside has candidates.
FAR_KM = 30.0
FAR_MIN_PER_KM = 1.0

# Capability that is missing: the expected share of a second transfer (about an hour in all with
# call, ambulance and hand-over) that its lack brings about.
MISSING_CAPABILITY_MIN: dict[Capability, float] = {
    Capability.THORACIC_SURGERY: 20.0,  # a drain can be placed elsewhere, surgery cannot
    Capability.THORACIC_ICU: 12.0,  # a general ICU bridges the first hours
    Capability.GENERAL_ICU: 20.0,  # no ICU means transfer within the hour
    Capability.VENTILATOR: 25.0,  # cannot be bridged by hand for long
    Capability.BRONCHOSCOPY: 12.0,  # urgent, seldom within the hour
    Capability.CT: 15.0,  # every doubtful chest needs it
    Capability.INTERVENTIONAL_RADIOLOGY: 20.0,  # bleeding does not wait
    Capability.CARDIOLOGY: 20.0,  # reperfusion and assist devices
    Capability.ECMO: 25.0,  # only few centres, transfer on ECMO is slow
    Capability.NEGATIVE_PRESSURE_ROOM: 8.0,  # a single room with masks bridges
    Capability.OPERATING_ROOM: 20.0,  # surgery means transfer
    Capability.PAEDIATRIC_EMERGENCY: 20.0,  # staff without practice with children decline
}
# Wished, not required: it is used in about one case of four, so its lack costs a quarter.
WISHED_SHARE = 0.25

# Beds. A figure is believed half after a quarter of an hour: the feed is meant to be refreshed at
# least four times an hour, so an older one is already late.
BED_HALF_LIFE_MIN = 15.0
CLOCK_SKEW_MIN = 2.0  # a figure from further in the future is not believed at all
LAST_BED_MIN = 4.0  # one bed left, likely gone on arrival; shared out: n beds cost 4/n
UNKNOWN_BEDS_MIN = 10.0  # between a free bed and none; what every figure decays to
NO_BED_MIN = 20.0  # boarding in the corridor, or a bounce
OVER_CAPACITY_MIN_PER_PATIENT = 2.0  # each patient who already waits for a bed comes first
OVER_CAPACITY_MOST_MIN = 20.0  # past ten waiting, one more says nothing new

# Answers. What is lost when this emergency room stays silent or says no: about one round.
FAILED_OFFER_MIN = 6.0

# How facts move the log-odds of a yes; the bed figure only as far as it is trusted. By judgement.
PLENTY_OF_BEDS = 3
YES_PLENTY_OF_BEDS = 0.6
YES_FEW_BEDS = 0.2
YES_NO_BED = -1.2
YES_PER_PATIENT_OVER = -0.1
YES_LEAST_BEDS = -2.2
YES_MISSING_CAPABILITY = -1.0  # each that is required; specialists missing is the first reason
YES_ASKED_BEFORE = -1.0  # asking again seldom changes the answer
YES_REFUSED = -1.0  # each fresh refusal of a comparable case: as much as a board that says no bed

# Asked before in this case and not taken: asking again seldom changes the answer.
ASKED_BEFORE_MIN = 15.0

# An emergency room without a usable position: further than any in a city, nearer than none.
UNKNOWN_TRAVEL_MIN = 45.0

# About 4 km in Korea: emergency rooms that share walk-ins fill together.
NEIGHBOURHOOD_DEGREES = (0.04, 0.05)
SAME_PLACE_DEGREES = 1e-4  # 10 m: one hospital that is registered twice


# Severe cases belong to the higher levels, mild ones leave those free (Korean delivery policy).
LEVEL_SEVERE_MIN: dict[EmergencyCentreLevel, float] = {
    EmergencyCentreLevel.REGIONAL: 0.0,
    EmergencyCentreLevel.LOCAL_CENTRE: 2.0,
    EmergencyCentreLevel.LOCAL: 8.0,
}
LEVEL_MILD_MIN: dict[EmergencyCentreLevel, float] = {
    EmergencyCentreLevel.REGIONAL: 6.0,
    EmergencyCentreLevel.LOCAL_CENTRE: 2.0,
    EmergencyCentreLevel.LOCAL: 0.0,
}
