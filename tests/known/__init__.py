"""The trainings of the field that are known to be right, or wrong, each with its truth from a bare script.

    cases      what a case is: right, or wrong with a verdict and remedies
    training   what a Trainer is made of, the same every time; what its first steps are beside plain torch's
    rows       two steps of 2 rows × k = 4, of the counts for which the field's figures hold
    parts      the right step, and what is left over once a remedy is applied, in closed form
    bodies     tiny models: the stand-in Llama, classes of transformers, adapters
    trainers   the Trainers that somebody wrote, wrong, and as the remedy has them
    right      right ones that are easily accused
    wrong      wrong ones: the verdict that names the fault, and the remedy that it gives
    live       classes of the newest release of transformers that are wrong by default
    doors      how gacheck is asked
    judging    what is asked of every wrong case

`right`, `wrong` and `live` list cases and no more. Of every case the truth is told without gacheck, and the verdict is
asked at two doors; of a wrong one the remedy is applied as the verdict words it, and its truth told again.
"""
